"""Plays Glartek, checks any receiver, profiles any sender.

    payloads ─▶ delivery ─▶ your receiver          your sender ─▶ recording
    (samples, edits)  (10 s, 200 or 201)           (scripted answers, what arrived)

`python -m examples.sender` is the command; the modules are a library as well. What Glartek documents is built in;
what it does not (payloads, retries, disabling) is a setting, and every report says which one was used.
"""
