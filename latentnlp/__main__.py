import sys

from latentnlp.cli import main

sys.exit(main())
