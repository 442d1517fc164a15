"""Running the part of a module that is compiled for an accelerator; needs numpy only."""
