"""Every measured claim has a script here."""
