"""The encodings: each with encode, decode and a numpy oracle, and what each target emits."""
