// Go's net/http as server and as client, and io.Copy from TCP to TCP.
//
//	app server PORT            answers what apps.py says
//	app client URL             asks for it, on kept connections
//	app forward PORT HOST:PORT copies bytes between two connections
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err != nil {
		return // the client has gone
	}
	number := func(name string) int {
		value, _ := strconv.Atoi(r.URL.Query().Get(name))
		return value
	}
	body := []byte(hex.EncodeToString(sum.Sum(nil)))
	if r.URL.Path == "/bytes" || r.URL.Path == "/chunked" {
		body = make([]byte, number("size"))
		rand.Read(body)
	}
	w.Header().Set("X-Digest", digest(body))
	if r.URL.Path != "/chunked" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
		return
	}
	for step := number("step"); len(body) > 0; body = body[step:] {
		if step > len(body) {
			step = len(body)
		}
		w.Write(body[:step])
		w.(http.Flusher).Flush()
	}
}

func expect(response *http.Response, err error, wanted string) {
	check(err)
	body, err := io.ReadAll(response.Body)
	check(err)
	response.Body.Close()
	if response.StatusCode != 200 || digest(body) != response.Header.Get("X-Digest") {
		check(fmt.Errorf("status %d, wrong %d bytes", response.StatusCode, len(body)))
	}
	if wanted != "" && string(body) != wanted {
		check(fmt.Errorf("%q instead of %q", body, wanted))
	}
}

func ask(client *http.Client, url string, worker int) {
	for turn := 0; turn < 12; turn++ {
		for _, size := range []int{0, 1, 100, 3000, 20000, 70000} {
			query := fmt.Sprintf("size=%d&step=5000&seed=%d", size, worker*100+turn)
			response, err := client.Get(url + "/bytes?" + query)
			expect(response, err, "")
		}
		body := make([]byte, 1000+turn*90000)
		rand.Read(body)
		response, err := client.Post(url+"/digest", "text/plain", bytes.NewReader(body))
		expect(response, err, digest(body))
		// A reader whose length is not known is sent in chunks.
		response, err = client.Post(url+"/digest", "text/plain", io.LimitReader(bytes.NewReader(body), 1<<20))
		expect(response, err, digest(body))
		response, err = client.Get(fmt.Sprintf("%s/chunked?size=200000&step=7000&seed=%d", url, turn))
		expect(response, err, "")
	}
}

func forward(from, to net.Conn, done chan<- bool) {
	io.Copy(to, from) // its end, or an error: the other side is told
	to.(*net.TCPConn).CloseWrite()
	done <- true
}

func main() {
	switch os.Args[1] {
	case "server":
		check(http.ListenAndServe("127.0.0.1:"+os.Args[2], http.HandlerFunc(serve)))
	case "client":
		client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 4, MaxIdleConnsPerHost: 4}}
		var workers sync.WaitGroup
		for worker := 0; worker < 6; worker++ {
			workers.Add(1)
			go func(worker int) {
				ask(client, os.Args[2], worker)
				workers.Done()
			}(worker)
		}
		workers.Wait()
		fmt.Println("done")
	case "forward":
		listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
		check(err)
		for {
			near, err := listener.Accept()
			check(err)
			go func() {
				defer near.Close()
				far, err := net.Dial("tcp", os.Args[3])
				if err != nil {
					return
				}
				defer far.Close()
				done := make(chan bool)
				go forward(near, far, done)
				go forward(far, near, done)
				<-done
				<-done
			}()
		}
	}
}
