"""The drawn world: faces, their captions, and the scale model that is trained on them."""
