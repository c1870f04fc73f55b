"""A package of one's own beside the kit: `make new NAME=acme` copies `acme/` of this folder, under that name."""
