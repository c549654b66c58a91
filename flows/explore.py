"""A page for browsing the published tables: search, a user's list and its reasons, an item's neighbours."""

import secrets

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tasks.errors import InputError
from tasks.read import explore
from tasks.read.terminal import open_published
from tasks.settings.config import Config

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'"
)


def serve(config: Config, port: int) -> None:
    """Serves the page on this machine only, until it is stopped. Raises InputError if nothing is published yet."""
    import uvicorn

    with open_published(config):
        pass
    print(f"http://{HOST}:{port}/ (Ctrl-C stops it)")
    uvicorn.run(make_app(config), host=HOST, port=port, log_level="warning")


def make_app(config: Config) -> FastAPI:
    """The page and nothing else. Other host names are rejected, or a web site could reach it through a browser.

    Each request opens what current.duckdb is at that moment, so a new publication is followed.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    environment = Environment(
        loader=PackageLoader("flows", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("explore.html.j2")

    @app.get("/")
    def page(q: str = "", user: str | None = None, item: str | None = None, part: bool = False) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        with open_published(config) as connection:
            facts = explore.look_up(connection, q.strip(), user, item)
        headers = {"Content-Security-Policy": POLICY.format(nonce)}
        content = template.render(facts, is_part=part, nonce=nonce)
        return HTMLResponse(content, 404 if facts["missing"] else 200, headers)

    @app.exception_handler(InputError)
    def unavailable(request: Request, error: InputError) -> PlainTextResponse:
        return PlainTextResponse(f"{error}\n", 503)

    return app
