"""Which models a Kubernetes object names, by what KServe, image volumes and model servers call them."""

from __future__ import annotations

from typing import Any

import pytest

from weightguard.gates.admission import asked


def named(spec: object, **request: Any) -> tuple[set[str], set[str]]:
    review = asked(
        {
            "apiVersion": "admission.k8s.io/v1",
            "request": {"uid": "u", "object": {"metadata": {"annotations": {"last": "s3://old/m"}}, "spec": spec}, **request},
        }
    )
    return set(review.models), set(review.images)


@pytest.mark.parametrize(
    ("spec", "models"),
    [
        ({"predictor": {"model": {"storageUri": "s3://b/a,b"}}}, {"s3://b/a,b"}),
        ({"predictor": {"model": {"storageUri": "pvc://claim/m"}}}, {"pvc://claim/m"}),
        ({"predictor": {"model": {"storageUri": "https://host/m"}}}, {"https://host/m"}),
        ({"predictor": {"model": {"storage": {"key": "k", "path": "m"}}}}, {"storage:/m"}),
        ({"model": {"uri": "hf://o/m"}}, {"hf://o/m"}),
        ({"storageUris": [{"uri": "gs://b/a"}, {"uri": "gs://b/c"}]}, {"gs://b/a", "gs://b/c"}),
        ({"containers": [{"args": ["--model=s3://b/m?versionId=3"]}]}, {"s3://b/m?versionId=3"}),
        ({"containers": [{"command": ["sh", "-c", "aws s3 cp s3://b/m /m && run 'az://c/n'"]}]}, {"s3://b/m", "az://c/n"}),
        ({"containers": [{"args": ["--model", "acme/m", "--served-model-name", "x/y"]}]}, {"hf://acme/m"}),
        ({"containers": [{"args": ["--model_id=acme/m"]}]}, {"hf://acme/m"}),
        ({"containers": [{"command": ["sh", "-c", "vllm serve acme/m --port 80"]}]}, {"hf://acme/m"}),
        (
            {"containers": [{"env": [{"name": "MODEL_ID", "value": "acme/m"}, {"name": "OTHER", "value": "a/b"}]}]},
            {"hf://acme/m"},
        ),
        ({"containers": [{"env": [{"name": "A", "value": "https://host/m.safetensors"}]}]}, {"https://host/m.safetensors"}),
        ({"containers": [{"env": [{"name": "A", "value": "http://telemetry:4318/v1/traces"}]}]}, set()),
        ({"containers": [{"env": [{"name": "DB", "value": "postgres://db/x"}]}]}, set()),
        ({"predictor": {"storage": {"key": "k", "parameters": {"bucket": "b"}}}}, {"storage:/"}),
        ({"storageUris": [{"uri": "https://host/m"}]}, {"https://host/m"}),
        ({"template": {"metadata": {"annotations": {"source": "hf://o/m"}}}}, {"hf://o/m"}),
        ({"containers": [{"args": ["--model", "o/m", "--revision", "r"]}]}, {"hf://o/m@r"}),
        (
            {"containers": [{"args": ["--model=o/m@r", "--lora-modules", "a=o/n", "-hf", "o/q:Q4"]}]},
            {"hf://o/m@r", "hf://o/n", "hf://o/q"},
        ),
        ({"containers": [{"args": ["--speculative-config", '{"model":"o/big"}']}]}, {"hf://o/big"}),
        ({"containers": [{"command": ["sh", "-c", "serve 'o/m'; true"]}]}, {"hf://o/m"}),
        (
            {"containers": [{"env": [{"name": "HF_MODEL_ID", "value": "o/m"}, {"name": "REVISION", "value": "r"}]}]},
            {"hf://o/m@r"},
        ),
        ({"containers": [{"env": [{"name": "U", "value": "https://h/get?file=m.gguf"}]}]}, {"https://h/get?file=m.gguf"}),
        ({"volumes": [{"image": {"reference": "quay.io/acme/m:v1"}}]}, {"oci://quay.io/acme/m:v1"}),
        ({"volumes": [{"image": {"reference": "acme/m"}}]}, {"oci://docker.io/acme/m"}),
        ({"resources": {"requests": {"storage": "10Gi"}}}, set()),
    ],
)
def test_models(spec: object, models: set[str]) -> None:
    assert named(spec) == (models, set())


def test_images_that_run_are_told_apart() -> None:
    spec = {"initContainers": [{"image": "localhost:5000/a"}], "containers": [{"image": "nginx"}]}
    assert named(spec) == (set(), {"oci://localhost:5000/a", "oci://docker.io/library/nginx"})


def test_a_deletion_is_one() -> None:
    assert asked({"apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "operation": "DELETE", "object": None}}).gone


@pytest.mark.parametrize(
    "review", [None, [], {}, {"apiVersion": "admission.k8s.io/v1"}, {"apiVersion": "v1", "request": {"uid": "u"}}]
)
def test_what_is_no_review(review: object) -> None:
    with pytest.raises(ValueError, match="AdmissionReview"):
        asked(review)


def test_an_object_without_end() -> None:
    deep: object = "s3://b/m"
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="deeper"):
        named(deep)
