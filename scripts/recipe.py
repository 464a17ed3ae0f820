"""U-Net, GAN from it, sweep over λ, comparison: ``python scripts/recipe.py [OVERRIDE ...]``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("recipe"))
