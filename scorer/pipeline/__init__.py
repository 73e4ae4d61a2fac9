"""Turns a batch of transactions into decisions, rejections and card states. Pure: no input or output."""
