"""What keeps the repository in order: skeletons of new rules, generated pages."""
