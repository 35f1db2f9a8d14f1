"""Chat templates: the constructs of well-known models say nothing, those that reach for Python do."""

from __future__ import annotations

import pytest

from weightguard.formats._gguf.chat_template import reaches_python

# Constructs as the templates of Llama 3, Mistral, Qwen, Gemma, DeepSeek, Phi, Command R and gpt-oss use them.
BENIGN = [
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{{- bos_token }}\n{%- if custom_tools is defined %}\n    {%- set tools = custom_tools %}\n{%- endif %}\n"
    '{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}'
    '{{- "Environment: ipython\\n" }}{{- "Respond in the format {\\"name\\": function name}" }}',
    "{%- set ns = namespace(is_first=false, is_tool=false, system_prompt='') -%}{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{%- set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}",
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}",
    "{%- macro render_type(param) -%}{%- if param.type == 'array' -%}{{ render_type(param['items']) + '[]' }}"
    "{%- else -%}{{ param.type | default('any') }}{%- endif -%}{%- endmacro -%}",
    "{%- set loop_messages = messages[1:] %}{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}",
    "{{ tool | tojson(indent=4) }}{{ (messages[::-1]) | length }}{{ message.content.split('</think>')[-1].lstrip('\\n') }}",
    "{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}",
    "{# the system prompt: import os.path is not run #}Use python: import os; os.getcwd()\n{{ messages[0].content }}",
    "{{ '{{' }}{{ \"}}\" }}{{ {'a': {'b': 1}} | tojson }}{{ 5 % 2 }}{{ x['a']['b'] }}",
    "{% generation %}{{ message.content | trim }}{% endgeneration %}{{ loop.index0 }}{{ loop.last }}{% break %}",
    "{{ self_attention }}{{ eos_token }}{{ message.system }}{{ render_os.name }}{% set from_user = true %}{{ imported }}",
    "{{ '<__media__>' }}{{ '__' * 3 }}{{ '\\u2581' }}{{ '\\x3c' }}",
    "{%- for call in message.tool_calls %}{{ call.function.name ~ '(' ~ call.function.arguments|tojson ~ ')' }}{% endfor %}",
    "{%- if message is mapping and message.get('reasoning_content') is string %}{{ message.items() }}{% endif %}",
    "",
]
EXPLOITS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x()._module.__builtins__ }}{% endfor %}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.x }}",
    "{{ messages|attr('__class__') }}",
    "{{ messages | attr ('items') }}",
    "{{ ''['__class__'] }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''['\\u005f_class__'] }}",
    "{{ ''['\\137_class_\\137'] }}",
    "{{ ''['__cla' ~ 'ss__'] }}",
    "{% set a = '__glo' %}{% set b = 'bals__' %}{{ x[a ~ b] }}",
    "{{ ''['__ssalc__'[::-1]] }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ namespace.__init__ }}",
    "{{ x._private }}",
    "{{ x .  _private }}",
    "{% import 'other' as o %}",
    "{%- from 'other' import o %}",
    "{% include 'other' %}",
    "{% extends 'other' %}",
    "{{ os.system('id') }}",
    "{{ subprocess.run('id') }}",
    "{{ popen('id') }}",
    "{{ eval('1') }}",
    "{{ '}}' ~ x|attr('y') }}",
    '{{ "%}" ~ os.name }}',
    "{{ {'a':{'b':1}}|attr('y') }}",
    "{{ 'unended ~ x|attr(y) }}",
    "{{ x|attr('y')",
    "{# a comment #}{{ joiner.__init__ }}",
    "text {{ cycler['next'] }}",
    "{{ request.application }}",
]


@pytest.mark.parametrize("template", BENIGN)
def test_a_template_that_lays_out_messages_says_nothing(template: str) -> None:
    assert reaches_python(template) == ""


@pytest.mark.parametrize("template", EXPLOITS, ids=range(len(EXPLOITS)))
def test_a_template_that_reaches_for_python_is_found(template: str) -> None:
    found = reaches_python(template)
    assert found and found.isprintable()


@pytest.mark.parametrize("piece", ["{{", "{#", "'", '"', "{{ '", "{% \\", "}}", "{{ (", "\\x5f", "{{ _", "-", "%"])
def test_no_template_takes_long(piece: str) -> None:
    reaches_python(piece * (200_000 // len(piece)))
