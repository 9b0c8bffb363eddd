"""A fleet of hosts behind gateways: signed messages, identities, enrolment, gateway, connector."""
