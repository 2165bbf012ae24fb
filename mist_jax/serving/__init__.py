"""A policy with its arm as a websocket server: openpi's protocol and vla-evaluation-harness's."""
