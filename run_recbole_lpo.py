"""Train and measure models: python run_recbole_lpo.py --model=LPOSASRec --dataset=amazon-beauty"""

import sys

from recbole_lpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
