#!/bin/sh
# Lets each user of Kafka do what its process needs, and nothing else. Rendered: change deploy/rights/users.py, then run
# `make deploy-render`. It only adds: rights that a user had before stay until you take them away.
#
#   KAFKA=host:port ADMIN=admin.properties deploy/rights/kafka-acls.sh
#
# KAFKA: a broker. ADMIN: settings of a client that may change access lists. KAFKA_ACLS: path of kafka-acls.sh.
set -eu
allow() {
    user=$1; shift
    "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$KAFKA" ${ADMIN:+--command-config "$ADMIN"} \
        --add --allow-principal "User:$user" "$@"
}

# scorer topics
allow topics --operation Create --operation Describe --topic transactions --topic decisions --topic transactions.rejected --topic labels --topic deployments --topic velocity --topic erasures --topic risk

# scorer run
allow scorer --operation Read --topic transactions --topic risk
allow scorer --operation Read --operation Write --topic decisions --topic transactions.rejected --topic velocity --topic erasures --topic deployments
allow scorer --operation Describe --topic labels
allow scorer --operation Read --group scorer
allow scorer --operation Write --resource-pattern-type prefixed --transactional-id scorer-

# shadow run --slot candidate
allow shadow-candidate --operation Read --topic decisions --topic deployments
allow shadow-candidate --operation Read --group shadow-candidate

# shadow run --slot control
allow shadow-control --operation Read --topic decisions --topic deployments
allow shadow-control --operation Read --group shadow-control

# shadow run --slot previous
allow shadow-previous --operation Read --topic decisions --topic deployments
allow shadow-previous --operation Read --group shadow-previous

# shadow serve
allow serve --operation Read --operation Write --topic deployments --topic labels
allow serve --operation Read --topic decisions
allow serve --operation Describe --group scorer

# shadow archive run, shadow archive compact, shadow archive status
allow archive --operation Read --topic decisions --topic transactions.rejected --topic labels --topic deployments
allow archive --operation Read --operation Write --topic erasures
allow archive --operation Read --group archive

# scorer risk
allow risk --operation Read --topic decisions --topic labels
allow risk --operation Read --operation Write --topic risk

# scorer rotate
allow rotate --operation Read --operation Write --topic deployments

# scorer deploy, scorer decisions, shadow approve, shadow reject, shadow rollback, shadow comment, shadow verify, shadow erase, and all of the reviewer's
allow operator --operation Read --operation Write --topic deployments --topic erasures
allow operator --operation Read --topic decisions
allow operator --operation Write --topic labels
allow operator --operation Describe --topic transactions --topic transactions.rejected --topic velocity
allow operator --operation Describe --group scorer

# shadow gate, shadow evidence, shadow status, shadow history, shadow disagreements, shadow report, shadow plan, shadow labels load, shadow labels show, shadow review next, shadow review mark
allow reviewer --operation Read --topic deployments
allow reviewer --operation Write --topic labels

# scorer replay
allow replay --operation Write --topic transactions
allow replay --operation Read --operation Write --topic transactions.rejected
allow replay --operation Describe --topic decisions --topic labels --topic deployments --topic velocity --topic erasures
