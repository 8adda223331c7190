# The image is the binary, CA certificates and an empty data directory. `make image` puts the three into bin/image and builds it without
# a network: no base image, no package.
FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="Varve" \
      org.opencontainers.image.description="A Kafka-compatible log broker on two tiers: local disk and an object store" \
      org.opencontainers.image.source="https://github.com/varvelog/varve" \
      org.opencontainers.image.version="${VERSION}"
COPY bin/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY bin/image/varve /varve
# A new volume takes over the owner of the directory that it covers.
COPY --chown=65532:65532 bin/image/data /data
# A broker that clients are not told how to reach is of no use; change VARVE_ADVERTISE wherever they are not on this machine.
ENV VARVE_DATA_DIR=/data VARVE_LISTEN=0.0.0.0:9092 VARVE_ADVERTISE=127.0.0.1:9092 VARVE_HTTP=0.0.0.0:9644
USER 65532:65532
VOLUME ["/data"]
EXPOSE 9092 9644
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/varve", "broker", "health", "--timeout", "4s"]
ENTRYPOINT ["/varve"]
CMD ["broker", "start"]
