"""The tiny model: gpt-oss's architecture and whole vocabulary, at a size that runs anywhere.

It exists to test with and to show the pieces working together; see docs/tiny-model.md.
`antiphon.engines.tiny.model` is where to start.
"""
