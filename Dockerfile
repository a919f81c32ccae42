# Serves a run that is mounted at /run-folder:
#   docker build --tag handful .
#   docker run --rm --env HANDFUL_TOKEN --publish 127.0.0.1:8000:8000 --volume "$PWD/runs/photos:/run-folder:ro" handful
# HANDFUL_TOKEN is what requests must bring; without one, the log's first line shows one.
# Other commands stand after the image's name: `docker run ... handful predict /run-folder /photos`.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE NOTICE ./
COPY src src
RUN python -m venv /opt/handful \
 && /opt/handful/bin/pip install --no-cache-dir -c requirements.lock '.[serve]'

FROM python:3.13-slim
RUN useradd --uid 1000 --create-home handful
COPY --from=build /opt/handful /opt/handful
ENV PATH=/opt/handful/bin:$PATH
USER handful
WORKDIR /home/handful
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["handful"]
CMD ["serve", "/run-folder", "--host", "0.0.0.0"]
