"""Rules, alerts and dashboards as code: `make deploy-render` writes what Prometheus, Grafana and Kubernetes take."""
