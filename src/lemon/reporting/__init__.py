"""From outcomes on disk to tables and pictures with their uncertainty."""
