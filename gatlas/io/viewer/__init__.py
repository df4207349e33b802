"""Pages that show splats in a browser, from one file: `gatlas render -o x.html`."""
