// Hears of each execution's end: `go run completions.go GROUP [TENANT]`, until Ctrl-C.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

type completion struct {
	ExecutionID string `json:"execution_id"`
	Tenant      string `json:"tenant"`
	State       string `json:"state"`
}

// Enough while this process lives. Where the work is written to a database, write the ce_id under a
// unique key in the same transaction instead: that outlives a crash.
var (
	seen  = map[string]bool{}
	order []string
)

func handle(id string, value []byte) error {
	if seen[id] {
		return nil
	}
	var ended completion
	if err := json.Unmarshal(value, &ended); err != nil {
		return fmt.Errorf("a completion is a JSON object: %w", err)
	}
	fmt.Println(ended.Tenant, ended.ExecutionID, ended.State)
	seen[id], order = true, append(order, id)
	if len(order) > 10_000 {
		delete(seen, order[0])
		order = order[1:]
	}
	return nil
}

func header(record *kgo.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}

func setting(name, otherwise string) string {
	if value, set := os.LookupEnv(name); set {
		return value
	}
	return otherwise
}

func run(ctx context.Context, group, tenant string) error {
	prefix := setting("MILEPOST_TOPIC_PREFIX", "milepost.executions.")
	client, err := kgo.NewClient(
		kgo.SeedBrokers(setting("MILEPOST_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(prefix+"succeeded.v1", prefix+"failed.v1", prefix+"cancelled.v1"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // the default shows aborted records too
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),                        // partitions stay here until their batch is done
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // where a new group begins
	)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil // Ctrl-C or SIGTERM
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, record := range fetches.Records() {
			// Told by a header, so what is not wanted need not be parsed.
			if tenant != "" && header(record, "ce_tenantid") != tenant {
				continue
			}
			if err := handle(header(record, "ce_id"), record.Value); err != nil {
				return err
			}
		}
		// After the work: what a crash interrupts comes again.
		if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
			return err
		}
		client.AllowRebalance()
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tenant := ""
	if len(os.Args) > 2 {
		tenant = os.Args[2]
	}
	if err := run(ctx, os.Args[1], tenant); err != nil {
		log.Fatal(err)
	}
}
