"""`python -m weightguard`."""

from weightguard.cli import main

raise SystemExit(main())
