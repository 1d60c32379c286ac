"""Models of documents as bags of words, ONE FILE EACH; `_contract.py` says what they answer."""
