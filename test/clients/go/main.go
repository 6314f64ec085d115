// pgx at home: see doc/clients.md, which shows the marked regions.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// snippet: checkout
// Line is one of the order's; UnitPrice is a string, so that no cent is lost in a float64.
type Line struct {
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice string `json:"unit_price"`
}

// Order is what create_order() answers.
type Order struct {
	ID       int64 `db:"order_id"`
	State    string
	Version  int32
	Replayed bool
}

// OutOfStock says what is short.
type OutOfStock struct {
	Short []struct {
		SKU       string
		Requested int
		Available int64
	}
}

func (*OutOfStock) Error() string { return "out of stock" }

// sqlState is empty where the server said nothing: the connection is lost.
func sqlState(err error) (state, detail string) {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code, refused.Detail
	}
	return "", ""
}

// Nobody knows whether a lost connection has committed: the key makes it safe to ask again.
func mayRepeat(err error) bool {
	switch state, _ := sqlState(err); state {
	case "", "40001", "40P01", "55P03", "57P01", "57P02", "57P03":
		return true
	}
	return false
}

// Checkout creates the order of this key, once, however often the network makes us ask.
func Checkout(ctx context.Context, pool *pgxpool.Pool, userID int64, key string, lines []Line) (Order, error) {
	for attempt := 1; ; attempt++ {
		rows, _ := pool.Query(ctx, `SELECT order_id, state, version, replayed
			FROM order_engine.create_order($1, $2, idempotency_key => $3, currency => 'EUR')`, userID, lines, key)
		order, err := pgx.CollectOneRow(rows, pgx.RowToStructByName[Order])
		if state, detail := sqlState(err); state == "OE001" {
			short := &OutOfStock{}
			_ = json.Unmarshal([]byte(detail), short)
			return order, short
		}
		if err == nil || attempt == 5 || ctx.Err() != nil || !mayRepeat(err) {
			return order, err
		}
		time.Sleep(time.Duration(rand.Intn(100<<attempt)) * time.Millisecond)
	}
}

// end snippet

// snippet: webhook
// PaymentCaptured is called as often as the provider calls; amount is a string.
func PaymentCaptured(ctx context.Context, pool *pgxpool.Pool, orderID int64, ref, amount, currency string) (outcome string, replayed bool, err error) {
	err = pool.QueryRow(ctx, "SELECT outcome, replayed FROM order_engine.pay_order($1, $2, $3, $4)",
		orderID, ref, amount, currency).Scan(&outcome, &replayed)
	return // with refund_due and mismatch the money has to go back
}

// end snippet

// snippet: version
// Changed is what has happened since the page was shown.
type Changed struct {
	Expected, Actual int32
	State            string
}

func (c *Changed) Error() string { return "the order has changed" }

// Ship returns the version after the move.
func Ship(ctx context.Context, pool *pgxpool.Pool, orderID int64, seenVersion int32) (version int32, err error) {
	err = pool.QueryRow(ctx, "SELECT version FROM order_engine.ship_order($1, expected_version => $2, context => $3)",
		orderID, seenVersion, map[string]string{"actor": "warehouse"}).Scan(&version)
	if state, detail := sqlState(err); state == "OE011" {
		changed := &Changed{}
		_ = json.Unmarshal([]byte(detail), changed)
		return 0, changed
	}
	return version, err
}

// end snippet

var (
	ran  int
	cup  = []Line{{"cup", 1, "19.90"}}
	cups = []Line{{"cup", 2, "19.90"}}
)

func is(got, expected any, what string) {
	ran++
	if fmt.Sprint(got) == fmt.Sprint(expected) {
		fmt.Printf("ok %d - %s\n", ran, what)
		return
	}
	fmt.Printf("not ok %d - %s\n# got %v, expected %v\n", ran, what, got, expected)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// waiting returns the pids of the application's sessions that wait for a lock, as soon as
// there are so many.
func waiting(ctx context.Context, pool *pgxpool.Pool, count int) []int32 {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		rows, _ := pool.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE usename = current_user AND wait_event_type = 'Lock'")
		if pids := must(pgx.CollectRows(rows, pgx.RowTo[int32])); len(pids) >= count {
			return pids
		}
	}
	panic("nobody waits for the stock")
}

// cupsHeld lets whoever takes a cup wait meanwhile; then nothing has been taken.
func cupsHeld(ctx context.Context, pool *pgxpool.Pool, meanwhile func()) {
	holder := must(pool.Begin(ctx))
	must(holder.Exec(ctx, `SELECT order_engine.create_order(1, '[{"sku": "cup", "quantity": 1}]')`))
	meanwhile()
	if err := holder.Rollback(ctx); err != nil {
		panic(err)
	}
}

func start(call func() (Order, error)) chan Order {
	result := make(chan Order, 1)
	go func() { result <- must(call()) }()
	return result
}

func testCheckout(ctx context.Context, pool *pgxpool.Pool) int64 {
	order := must(Checkout(ctx, pool, 42, "basket-paid", cups))
	is([]any{order.State, order.Version, order.Replayed}, []any{"pending", 1, false}, "an order is created")
	again := must(Checkout(ctx, pool, 42, "basket-paid", cups))
	is([]any{again.ID, again.Replayed}, []any{order.ID, true}, "the same key is the same order")
	_, err := Checkout(ctx, pool, 42, "basket-short", []Line{{"cup", 500, "19.90"}})
	var out *OutOfStock
	is(errors.As(err, &out), true, "what is not there is not sold")
	is(out.Short, "[{cup 500 8}]", "what is short is parsed")
	return order.ID
}

func testPayment(ctx context.Context, pool *pgxpool.Pool, orderID int64) {
	for _, replayed := range []bool{false, true} {
		outcome, again, err := PaymentCaptured(ctx, pool, orderID, "psp-1", "39.80", "EUR")
		is([]any{outcome, again, err}, []any{"paid", replayed, nil}, fmt.Sprintf("it is paid, replayed: %v", replayed))
	}
}

func testVersion(ctx context.Context, pool *pgxpool.Pool, orderID int64) {
	_, err := Ship(ctx, pool, orderID, 1)
	var changed *Changed
	is(errors.As(err, &changed), true, "a stale page does not ship")
	is(*changed, "{1 2 paid}", "what has changed is parsed")
	is(must(Ship(ctx, pool, orderID, 2)), 3, "the version that was seen does")
}

func testTwins(ctx context.Context, pool *pgxpool.Pool) {
	config := must(pgxpool.ParseConfig(""))
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "repeatable read"
	strict := must(pgxpool.NewWithConfig(ctx, config))
	defer strict.Close()
	call := func() (Order, error) { return Checkout(ctx, strict, 42, "basket-twins", cup) }
	var one, other chan Order
	cupsHeld(ctx, pool, func() {
		one, other = start(call), start(call)
		waiting(ctx, pool, 2)
	})
	first, second := <-one, <-other
	is(first.Replayed != second.Replayed, true, "of two requests at once one creates the order")
	is(first.ID, second.ID, "and both get it")
}

func testKilled(ctx context.Context, pool *pgxpool.Pool) {
	var result chan Order
	cupsHeld(ctx, pool, func() {
		result = start(func() (Order, error) { return Checkout(ctx, pool, 42, "basket-killed", cup) })
		must(pool.Exec(ctx, "SELECT pg_terminate_backend($1)", waiting(ctx, pool, 1)[0]))
		// its next attempt waits too, until the cups are free
		waiting(ctx, pool, 1)
	})
	order := <-result
	is([]any{order.State, order.Replayed}, []any{"pending", false}, "a lost connection is survived")
}

// What Go sends for its values.
func testBindings(ctx context.Context, pool *pgxpool.Pool) {
	const create = "SELECT amount::text FROM order_engine.create_order($1, $2)"
	var amount string
	text := `[{"sku": "cup", "quantity": 1, "unit_price": "0.10"}]`
	for kind, lines := range map[string]any{"text": text, "bytes": []byte(text), "json.RawMessage": json.RawMessage(text)} {
		tx := must(pool.Begin(ctx))
		is(tx.QueryRow(ctx, create, 42, lines).Scan(&amount), nil, kind+" is JSON as it stands")
		is(amount, "0.10", "with its amounts")
		_ = tx.Rollback(ctx)
	}
	state, _ := sqlState(pool.QueryRow(ctx, create, 42, []Line(nil)).Scan(&amount))
	is(state, "22004", "a nil slice is null")
	// the call is found; the order is not
	for _, number := range []any{"19.90", 20, pgtype.Numeric{Int: big.NewInt(1990), Exp: -2, Valid: true}} {
		state, _ = sqlState(pool.QueryRow(ctx, "SELECT outcome FROM order_engine.pay_order($1, 'ref', $2)", int64(1), number).Scan(&amount))
		is(state, "OE012", fmt.Sprintf("an amount as %T", number))
	}
	state, _ = sqlState(pool.QueryRow(ctx, "SELECT state FROM order_engine.ship_order($1, $2)", int64(1), int64(1)).Scan(&amount))
	is(state, "OE012", "a version as int64")
}

func main() {
	ctx := context.Background()
	pool := must(pgxpool.New(ctx, os.Getenv("DATABASE_URL")))
	defer pool.Close()
	orderID := testCheckout(ctx, pool)
	testPayment(ctx, pool, orderID)
	testVersion(ctx, pool, orderID)
	testTwins(ctx, pool)
	testKilled(ctx, pool)
	testBindings(ctx, pool)
	fmt.Printf("1..%d\n", ran)
}
