# curl with its own retries. URL COUNT
number=0
while [ "$number" -lt "$2" ]; do
    curl --silent --output /dev/null --retry 2 --retry-delay 1 --retry-all-errors --json \
        "{\"id\":\"evt_$number\",\"type\":\"action.created\",\"a\":1,\"b\":2}" "$1"
    number=$((number + 1))
done
