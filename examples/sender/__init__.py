"""Plays Glartek as a sender, checks any receiver, profiles any sender.

    payloads ─▶ delivery ─▶ your receiver          your sender ─▶ recording
    (samples, edits)  (10 s, 200 or 201)           (scripted answers, what arrived)

`python -m examples.sender` is the command; the modules are a library as well. What Glartek documents is built in; what
it does not document (payloads, retries, disabling) is a setting, and every report shows the settings.
"""
