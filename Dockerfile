# The server alone: no torch, no compiler, not root.
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE THIRD-PARTY-NOTICES ./
COPY scripts/compile_rows.py scripts/
COPY recis recis
COPY server server
COPY web web
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:3.11-slim
COPY --from=build /wheels /wheels
RUN wheel="$(ls /wheels/*.whl)" && pip install --no-cache-dir "$wheel[server,scale,oidc]" && rm -r /wheels \
    && useradd --create-home --uid 10001 recis && install --directory --owner=recis /data /token
USER recis
ENV RECIS_MONITOR_DATA=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["recis-monitor"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8765"]
