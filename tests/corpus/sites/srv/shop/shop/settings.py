"""Settings of a small Django project."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "not a secret")
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_X_FORWARDED_HOST = True
LOGGING_CONFIG = None
TIME_ZONE = "UTC"
