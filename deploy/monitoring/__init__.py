"""Rules, alerts and dashboards as code; `make deploy-render` writes them for Prometheus, Grafana and Kubernetes."""
