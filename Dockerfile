# docker build -t tailsight .
# docker run -p 127.0.0.1:8080:8080 -p 127.0.0.1:4317:4317 -p 127.0.0.1:4318:4318 --tmpfs /tmp -v tailsight:/data -v "$PWD/token:/run/secrets/tailsight_token:ro" tailsight

FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_PROJECT_ENVIRONMENT=/opt/tailsight UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /source
# The dependencies change seldom and weigh more than a gigabyte: a layer of their own, which a change of our code leaves alone.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev --no-install-project
# What .dockerignore lets in: the packages. Not editable, for /source stays behind; the wheel carries their .sql and .yaml files too.
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev --no-editable

FROM python:3.13-slim
RUN groupadd --gid 10001 tailsight && useradd --uid 10001 --gid tailsight --home-dir /data --create-home tailsight
COPY --from=build /opt/tailsight /opt/tailsight
# A container must listen beyond loopback to be reached, and Tailsight does so only behind a token: mount one where TOKEN_FILE says.
ENV PATH=/opt/tailsight/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TAILSIGHT_STORE=chdb:///data/store \
    TAILSIGHT_AUTH__TOKEN_FILE=/run/secrets/tailsight_token \
    TAILSIGHT_COLLECTOR__OTLP_GRPC__HOST=0.0.0.0 \
    TAILSIGHT_COLLECTOR__OTLP_HTTP__HOST=0.0.0.0 \
    TAILSIGHT_WEB__HOST=0.0.0.0
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 4317 4318 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["tailsight"]
CMD ["serve"]
