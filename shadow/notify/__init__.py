"""Tells people what happened to a release and what waits for them, by chat, mail and webhooks."""
