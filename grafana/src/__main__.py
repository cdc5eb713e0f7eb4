from grafana.src.render import write

write()
