"""Labels on their way in: from files, from reviewers, through the topic."""
