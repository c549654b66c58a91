-- a file's rows of people who were forgotten are not taken in
delete from incoming where is_forgotten(user_id)
