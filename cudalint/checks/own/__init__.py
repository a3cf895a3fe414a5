"""cudalint about itself: these pages belong to the engine, which does the finding."""
