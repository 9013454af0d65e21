"""Writes down what the fixed benchmark sets look like now. Run it only when they are meant to change:

    python tests/pin_benchmarks.py

then put the digests it prints into test_synthetic.py. Every score measured before is void after that.
"""

import numpy as np
from test_synthetic import DIGESTS, GOLDEN, fingerprint

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in DIGESTS:
        digest, thumbs, visible = fingerprint(name)
        np.savez_compressed(GOLDEN / f"{name}.npz", thumbs=thumbs, visible=visible)
        print(name, digest)
