"""Archives that mean harm or are broken: the files, the cases by kind, and what must come of each."""
