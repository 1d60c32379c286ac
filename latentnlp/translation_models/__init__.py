"""Models of a translation y of x, ONE FILE EACH; `_contract` says what each answers."""
