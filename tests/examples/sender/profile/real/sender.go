// Go's net/http as it comes. URL COUNT
package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	count, _ := strconv.Atoi(os.Args[2])
	for number := 0; number < count; number++ {
		body := fmt.Sprintf(`{"id":"evt_%d","type":"action.created","a":1,"b":2}`, number)
		for attempt := 0; attempt < 3; attempt++ {
			response, err := http.Post(os.Args[1], "application/json", strings.NewReader(body))
			if err == nil {
				response.Body.Close()
				if response.StatusCode == 200 || response.StatusCode == 201 {
					break
				}
			}
			time.Sleep(30 * time.Millisecond)
		}
	}
}
