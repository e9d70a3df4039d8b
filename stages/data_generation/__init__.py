"""The built-in data: Bongard-style scenes of black strokes on white, with exact boxes."""
