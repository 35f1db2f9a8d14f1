"""Files that ExecuTorch 1.5.1 wrote, deflated: a program of two linear layers, and its constants in a file of their own."""

from __future__ import annotations

import base64
import zlib

_PROGRAM = (
    "eNqtVgtQVNcZvrvsLossuiKBJWJcFpqAJdQgQcW9J8SSiVHQ1frAAMNrlwossCy7KD46QMAQw6SmIWBGZmKMtUwh8RU6EPeeYRpirWWKaUikHdpi"
    "fdRkaDSGKDUL2//snt17IEudzvTMfHte///93/nvf89dPcdxz219Ksm0a/lyLYzzQzh3q6O9MYDzNTWngd8w6FWckpNBT2YclwWwMTj9ncslgz6Q"
    "89Okni7N21N+A+3zmXgSgAqgdEeSQT9TD2sX5R6Fc3FcLKeFmYbRGQ47sYBVFHvAYRR4xgDXCV8wx2WofNLcbUw6MwY5SxT4jUM/AOgA5AAS3MrA"
    "/1uXS0n1ehvQcgU2U0VqalGlpTaPs1CbMLr3QoUto6Talldpt3FBPttqeznhZ/iIRGITTc5fUp5XaTWarHmVlurU1DxbZZ64RMKAzYgf33k+fqvJ"
    "bOc4px8bUW+B0Vhezmnvfd8m1GdjMVnL7TYTDZrhxzaI5aPPSe3OzDzfs5lHfdKlHhANMuiHwfgIwAzQSzzOg9C1khwAkmnew+574hKLy1SDgu7J"
    "3bXDcT+g4zTGduu0p0bJejS1IzUSQ2FmbOsYW1JLSwA66kdwhOWlYznVEQl4DLAUoKW+BIOMTzMde2OQ/lFa05EUTsa+l46ltC5JvhcCyLOJAGio"
    "ToLkSdHvDvWT0BjE/xHqR5DP2EbRcQDFfBqDoJmxS5+cqUVCe/JcF9DnPZ+in/HbPzlTC2kh1I9gHPbV1FbJKX3vvzdH3vwG0WennHUfxDBaHif5"
    "BuMWgAGgAQwDQSPAAFABBoG4E2AALAdoAONw8FaADZAFUAMG4aDdgCMAMyBW6qnXWxCsm9ZsIyAfEAdQAibIfULqhNw9tHY19CzD//blJMDgdLmu"
    "i3PpRphL6Jmc4rr8HqyH0aOGUS6SjlRqL6VJkNIxiaN/IPKmMLykZYl78i1TIrfGd69yigSwIWRz8XeIHBINcHSL84A4mDvEeeA/nJ73ydtGmPgK"
    "p+e5a5hzdcK+lj5Pb1N9J/IlTXn4yP5iup8g7ks7YV8vzgN6YZ4hzuV7aUw2lwenPDmSMDVF6q2R4f1qSsxjB7PeNjUzv71MrLPT/vPbAjZ1/yW/"
    "Tua8Onofkb1FNAbl5GKdoo5jYJfMzBOnZ+oyiHvy9S7/NfXa9PdrSk01HWb8D7n8n8sINsTP37kIzzCjD7lEfePM+s1ZuvUwd+uTh4LOCDeTyvPl"
    "cN9j/nQQvrnql+jImRLz2+AS8xvsrTfaN4IdHUtlnMydh8FpuiZVgJ3MXSdevbcYreHu23amVs1srQqF+7vo5WC1KqlWvUuMp54Vj7S4afG5bHeJ"
    "75M3F5Nwhn6aC7a+yVmMjO8v/PgmT89dp8TvBOPfCP4KmjuaM4VXoxJu+SB6p3vzE+auZhW9yz35mR3/A+C/PId2rYvmGtjUM9g8/1XlVIf3uzL7"
    "3c53idqzXL47SsL4KGbHbGV8WmAc4MeHzZOMrg8yfgMwlj4kltqdM1I5TM7c52TfAM85JQ/RoPZ9Mz3/wbzfz3TAakD2UwnafTpbrcWkS9VW2M3m"
    "BK2uqLLCZtpjYxZ2lZiNVlNFXrXFVATL2bkHcsF3era/rtBeYraVVFQn2uwWs0k3g0tHyHT+2P5v/v+L/gN+dRtLimyzwmbn6uaiyPX85yiutO4u"
    "sBq5h7U9Zff0ywq78KdjZ3AEakc1u7rQ2AIzutu6F4/staNAZzDu66rD1ffr0OmyNrxhIhDXCk34lSE5zlyZhFZ99TM8/8vV6Itn1bh098+FRkUD"
    "6uaaUVbNVmy5lc2Px7TisKcb+J71LyM5vw2t0J0V9jfNx70LatHyxCQccHcDfrf4N3zy1RLho9sH8D/zM/En27vQR/WfCVt2vIB6aiJQ/W//cv7a"
    "r1Qocv9h3CUPQe/fTMVLlp5Et6M5FDM9xa+psaL23HYU9OwWtHAql5dl70TxL8agxw+vRe0tQTg+pkFIGkrk97WdQeFFZXhy8yn0x4IStO6TC3zm"
    "u2/zYY50pHy5GAVcKUWHEhXnpW85+Nq7nUjaetCR9uM2wag8hR+8uRgvywnCpRt/io9+fAI12dNQ0hCPAzf1C1u+qEeR80Lwjsf6+NvWl/AaOPON"
    "9V3813YJzjtWwN8aGuWT7lfhO8c/5Hd/cxL9bsVZtLLhU+H1qiYHN2pD4Sk3+Pi/heL36mvwqb6FuG/8jCNZPshvWvQO2vDKVvT1pl/yf69MEbYN"
    "L0L7g1XI0fM63n1Dj9W9ahRz7gAvQQa0Qv0xn5VxQahPOIYffLYWd0e24SdrrvEDX6bh186pcXbaD9FbF4PxI3sR/vBPzaj+D4NCy/FzePUzCXw/"
    "b8VXclaioBS9cDP6kt52Oh7F219C3/w5FNU88QYO7H8Tv3q+Cl3taUc/ulCFu4d+zx/telrom2jH63buwCc2ZuLD59cK/UcnhJGxn2Dnvm8FlT0Y"
    "HznTxH/wuR1r0otRf2GrY8/6Q/zF2M14l+EQnyVY8J3FSnQ8JgU7O+JQXXbQmgf12ajjaBt/Wf0ibu4qQ5rneoT3R55Ha6MSkUE3yqt/rROUE8vw"
    "upR/CZcuGNBoyV+FxOeXYt3nOjx+/QTfuTNaWFUViS6FlKKxbZmo+OIadPrVXsGybUAILVuH1QdvO4yn3hA0znE+dMl2FLb9vqAvTMZqabjAaTV8"
    "TuV7fKqzFE+uLBQy9Nf42Cev8eNX8/GlEYTyLVHoWOQTvCWill/VEsobCq44FI/uQzZTNR7YmYFObg7HOYkbMCeRBsjk7BtW98x/AHS510o="
)

_TENSORS = (
    "eNqlUgtQVGUUvrvAssjDKxKPxBRwUgg3XBBQ9j+tREo85BFPwQlIEdgmeS7ysGFRFJEpHBFycCZCIqdFAYmGx/5nmEQicgIzhRoqGMLQoVCkcBiU"
    "7u5einGqGcczc+4595zznf87//n9GIbZGeG2Zae/25ZNnO/G6GW9UG+LeCsyZJ6QFYwZ9zVkxJzHMNkCrc8wRpzac/6gFsupnNHHAxYXF115X6vz"
    "jxcXOSNg+X8B31VrRbxVcFrM4wz4OumiDif6N5whj02SJKUmZjEMcrXaeYR87p0nsEIeuJTXxsU6fO7+1AMp2doZWd2EZroZXZed0/k/PFieRyLP"
    "Q9vHQlelvytvvkbf3/jv/v/FbYmXWNdziZv+ro9ymsCpTLszHtuu5cbvS7RsY4NcvMhA77PL4pPauHDZALyIGVuujZnuXIbPy5nl+aUX8E/+aeWQ"
    "4k+ZS5Iab4y2oA1UgzJFDaMr34aZynwczs8B4wVT7FAXYdZcETQrqjBw1hjzaAmeGDDCYC8peP/+Llrc3QZ3drCYlvs+PSoqhkamFGKUEZg+GUem"
    "nCrRamsxaQs4DkYkEtwdL9PCEgtsX5kHbhIpGswE4vnkz4nHWCq9Mn0Yf00IxutRariiuknDo1+HNqUNqL74oWv8EzOwK6xAtZE5XLq9Hdeua4Bp"
    "BwacHj8iPspMqN5bDSY7wmHVo73EMC4WnPc4wYsVvlBdboLOTsVUOiAhBVUtYP2WAh+GNcE3iangf72XBJ//kFhp/EB8PBkMhtKgTCLqEp7VkLyZ"
    "CyCsPKaRv1pF94mbcP7MGnSJN8G03Qew5mo9lOTIQTpA0Dikm4bfUYHdCnOMfqGDTGceQR9u5okANbmfI8A3axPJ5MAIkc5l4L26TpL7oAG+dL8M"
    "XsU36KmMEg0zkg3WnhPE+SdLvKhSYlPHKuyYatF4GF0jIas/gsATEXA/5GPy80FPGvndaig0NQNN2ynMnZAh286CU+thIoBQcGevkpigXqpyrcX5"
    "m77YaFeFm5XjpOeuHN9rZTFO/hKc7TPF5/IBO78tBdXX12h5XStue8WVdJNMHIr3AhNPGb3t0C/LbnYG55wj8OB7S1BuPI3G3WfwZFcGjLVVw8u9"
    "Gdg48BWpUW+lHbPVyDyj+MdGY/3uYKzo8qXdNbN0ePQNXCj4g5rlmOIHLSXks1s5aOuXDN1JlZpDAWWkb0MYpoSWkRiajvfWiKHOyRMXzm2CojgT"
    "n3lVHJyrqSKD7B4sVSvA9rU2eml4F/jaSyDUcYSwnzpS8awL+nv+Rvt7Q2Ek9Ucq2bUOHW854tQv9eRCrAP1zrCDfvM0GI0MhuQ+H2g+2U7TI3uo"
    "pcIf2WPTmn1Np6ntwhSxXBsFVlFzVJbkgazQmjLrbUn8wYtk+0IaPvRKokGycbJh8ziZGkvA/mGAhHR7qLXbSNJt8oh3uSUJTRzSiJ4vgOz9WdgT"
    "GwQNYdYYLwl85vt8ahEIDQyN/gINfcWF"
)

PROGRAM = zlib.decompress(base64.b64decode(_PROGRAM))
TENSORS = zlib.decompress(base64.b64decode(_TENSORS))
