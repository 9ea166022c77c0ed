"""Prints the UserSig that the official package from PyPI makes: usersig.py SDKAPPID KEY USER."""

import sys

import TLSSigAPIv2

sdkappid, key, user = sys.argv[1:]
print(TLSSigAPIv2.TLSSigAPIv2(int(sdkappid), key).gen_sig(user, 3600))
