"""requests with urllib3's Retry. URL COUNT"""

import sys

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

retry = Retry(total=2, backoff_factor=0.05, status_forcelist=[500, 503], allowed_methods=None, raise_on_status=False)
session = requests.Session()
session.trust_env = False
session.mount("http://", HTTPAdapter(max_retries=retry))
for number in range(int(sys.argv[2])):
    session.post(sys.argv[1], json={"id": f"evt_{number}", "type": "action.created", "a": 1, "b": 2}, timeout=5)
