"""An app backend that calls the REST API with packages from PyPI: rest.py PACKAGE BASE_URL SDKAPPID KEY ADMIN.

Reads JSON lines, {method, args}, and prints each one's answer as a JSON line. Whom to trust is in REQUESTS_CA_BUNDLE, as for any
program that uses requests."""

import json
import sys

import requests

package, base, sdkappid, key, admin = sys.argv[1:]
VENDOR = "https://console.tim.qq.com"


class Moved(requests.adapters.HTTPAdapter):
    """timsdk cannot be told another host, so its calls are moved on their way out; nothing else about them is touched."""

    def send(self, request, **options):
        request.url = request.url.replace(VENDOR, base, 1)
        return super().send(request, **options)


def timsdk():
    from timsdk import TimClient

    client = TimClient(int(sdkappid), key, admin)
    accounts, groups = client.im_open_login_svc, client.group_open_http_svc
    http = accounts.get_client()
    http._http.mount(VENDOR, Moved())
    return {
        "account_import": accounts.account_import,
        "multiaccount_import": accounts.im_open_login_svc,
        "send_group_msg": groups.send_group_msg,
        # Whatever it has no method for goes through what its methods are made of.
        "post": lambda path, body: http.post(path, data=body),
    }


def tencentcloud_im():
    from tencentcloud_im.tcim_client import MessageText, TCIMClient

    client = TCIMClient(int(sdkappid), key, admin, tencent_url=f"{base}/v4")
    calls = {
        "account_import": client.add_single_user,
        "multiaccount_import": client.batch_add_users,
        "account_check": client.search_user,
        "send_group_msg": lambda room, text, sender: client.send_group_message(
            room, [MessageText(text)], from_account=sender, msgPriority="High"
        ),
    }
    return {name: lambda *args, call=call: call(*args).json() for name, call in calls.items()}


calls = {"timsdk": timsdk, "tencentcloud_im": tencentcloud_im}[package]()
for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps(calls[order["method"]](*order["args"])), flush=True)
