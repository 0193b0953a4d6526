"""The way from the training process to the server: spool, outbox, sender, traces, controls; knows no Trainer."""
