"""`python -m robustcourse` is the command `robustcourse`."""

import sys

from robustcourse.cli import main

sys.exit(main())
