# ctmar correct on a CPU: docker build -t ctmar . (docs/clinical.md tells how to run it)
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY configs ./configs
COPY ctmar ./ctmar
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# Wheels without CUDA, which the default ones bring along; what torch needs comes with ctmar.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Who runs it is nobody that the image knows, and has no home.
ENV HOME=/tmp USER=ctmar NUMBA_CACHE_DIR=/opt/numba
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" "torch>=2.8,<3"
RUN pip install --no-cache-dir "ctmar[seg] @ file://$(ls /wheels/*.whl)"
# Compiles once what every run would compile, and shows that the install works.
RUN mkdir -p "$NUMBA_CACHE_DIR" \
    && python -c "import numpy as np; from ctmar.clinical import correct; \
v = np.full((1, 64, 64), -1000.0); v[0, 12:52, 12:52] = 40; v[0, 30:34, 30:34] = 3000; \
assert (correct(v, (1, 1, 1)) != v).any()" \
    && chmod -R a+rwX "$NUMBA_CACHE_DIR"
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["ctmar", "correct"]
CMD ["--help"]
