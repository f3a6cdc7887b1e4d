"""Private: which windows are legal. What a sampler's author needs of it is in ``jaxbuffers`` itself."""
