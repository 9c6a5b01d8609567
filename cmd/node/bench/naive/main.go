// Command naive is the handler that everybody writes first: decode the transaction, read five keys from Redis, compare, answer. It keeps
// no velocity, writes no log, has no model and asks nobody for a key. The bench measures a node beside it.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
)

type transaction struct {
	TransactionID string            `json:"transaction_id"`
	Timestamp     time.Time         `json:"timestamp"`
	CardID        string            `json:"card_id"`
	DeviceID      string            `json:"device_id"`
	MerchantID    string            `json:"merchant_id"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Country       string            `json:"country"`
	Lat           float64           `json:"lat"`
	Lon           float64           `json:"lon"`
	MCC           string            `json:"mcc"`
	Attributes    map[string]string `json:"attributes"`
}

type answer struct {
	TransactionID string   `json:"transaction_id"`
	Outcome       string   `json:"outcome"`
	Score         float64  `json:"score"`
	Reasons       []string `json:"reasons"`
	LatencyMs     float64  `json:"latency_ms"`
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "`address` to serve on")
	address := flag.String("redis", "127.0.0.1:6379", "Redis' `address`")
	flag.Parse()
	client := redis.NewClient(&redis.Options{Addr: *address})
	http.Handle("GET /metrics", promhttp.Handler())
	http.HandleFunc("POST /v1/score", func(w http.ResponseWriter, r *http.Request) { score(client, w, r) })
	// The generator may leave a connection unused for a whole phase.
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: time.Minute}
	log.Fatal(server.ListenAndServe())
}

func score(client *redis.Client, w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var t transaction
	if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	values, err := client.MGet(r.Context(), "card:"+t.CardID+":velocity", "card:"+t.CardID+":profile", "device:"+t.DeviceID,
		"merchant:"+t.MerchantID+":volume", "merchant:"+t.MerchantID+":risk").Result()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	a := answer{TransactionID: t.TransactionID, Outcome: "approve", Reasons: []string{}}
	for _, v := range values {
		if v == nil {
			a.Score += 0.1
		}
	}
	if a.Score > 0.4 || t.Amount > 100_000 {
		a.Outcome = "step_up"
	}
	a.LatencyMs = float64(time.Since(began).Microseconds()) / 1000
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(&a); err != nil {
		log.Print(err)
	}
}
